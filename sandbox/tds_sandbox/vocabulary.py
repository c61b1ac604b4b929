"""Words the generator composes names from. All invented or generic; no real person, firm or product line."""

from __future__ import annotations

PRODUCTS = (
    "AC Adapter", "Adapter Cable HDMI", "Audio Splitter", "Bag Laptop", "Battery Laptop",
    "Bluetooth Dongle", "CCTV Bullet Camera", "CCTV Dome Camera", "Charger Wall", "Cooling Pad",
    "DC Connector Female", "DC Connector Male", "DVR 8 Channel", "Earphone Wired",
    "Extension Socket", "Fan USB", "Flash Memory", "Gamepad Wireless", "Hard PC Pull",
    "HDMI Switch", "Headphone", "Headset Gaming", "Hub USB", "Keyboard Wired", "Keyboard Wireless",
    "Laptop Stand", "LED Strip", "Memory Card", "Microphone", "Mouse Pad", "Mouse Wireless",
    "Network Cable", "NVR 16 Channel", "POE Switch", "Power Bank", "Power Cable", "Printer Cable",
    "RCA Adapter", "Router Wifi", "Screen Protector", "Speaker Bluetooth", "SSD 2.5",
    "Terminal Block", "Thermal Paste", "Tripod", "TV Box", "UPS", "USB Extension", "VGA Cable",
    "Webcam",
)  # fmt: skip
SPECS = (
    "", "", "", "12V 1A", "12V 2A", "12V 5A", "( 12V , 10A )", "5V 3A", "1.5m", "3m", "5m", "10m",
    "20m", "size 14", "size 16", "-Black", "-blue", "-Oil", "128GB", "256GB", "1TB", "64GB",
    "2 Port", "4 Port", "8 Port", "65W", "20W Plus Cable CL", "LED", "2.4G", "RGB", "Type-C",
    "1080p",
)  # fmt: skip
ARABIC_PRODUCTS = (
    "كيبل انترنت", "شاحن جداري", "ماوس لاسلكي", "كيبورد", "سماعة رأس", "كاميرا مراقبة",
    "حقيبة لابتوب", "اجور الشحن", "تسوية", "محول كهرباء", "راوتر", "بطارية لابتوب", "فلاش ميموري",
    "شاشة", "طابعة",
)  # fmt: skip
BRANDS = (
    "Nordvik", "Sumara", "Heliox", "Quarzen", "Tavira", "ملحقات الكامرات", "Brixen", "Ostara",
    "Calvo",
)  # fmt: skip
CATEGORIES = (
    ("Accessories", 400), ("Cables", 300), ("Cameras", 150), ("Computers", 200), ("Power", 250),
    ("", 900),
)  # fmt: skip
ARABIC_FIRST = (
    "أحمد", "علي", "حسين", "محمد", "عمر", "مصطفى", "كرار", "حيدر", "سيف", "زيد", "يوسف", "ياسر",
    "مهند", "عباس", "سجاد", "طه", "ليث", "رامي", "نور", "زهراء", "سارة", "فاطمة", "مريم", "هدى",
    "رسل", "أنس", "براء", "عثمان",
)  # fmt: skip
ARABIC_MIDDLE = (
    "عبدالله", "كاظم", "جاسم", "محسن", "صالح", "فاضل", "عادل", "كريم", "ناصر", "سعد", "خالد",
    "جواد", "رحيم", "قاسم", "إبراهيم", "حميد", "داود", "شاكر", "مجيد", "سلمان",
)  # fmt: skip
ARABIC_LAST = (
    "الراشدي", "السهلاوي", "المنصوري", "النعماني", "الخياط", "الحداد", "العطار", "النجار", "الصفار",
    "البنّاء", "الورّاق", "الدبّاغ", "الفخّار", "الزيّات", "الحكّاك", "السرّاج",
)  # fmt: skip
ARABIC_SHOPS = ("مكتب", "شركة", "محل", "مركز", "معرض", "مجموعة", "مخزن")
ARABIC_SHOP_NAMES = (
    "النخلة", "الفنار", "المرجان", "الأفق", "السنابل", "الياسمين", "الواحة", "البيان", "الزاوية",
    "المدار", "الأثير", "الضفاف", "الشراع", "القنديل", "المرساة",
)  # fmt: skip
ARABIC_SHOP_TRADES = (
    "للحاسبات", "للتجارة العامة", "للإلكترونيات", "لأنظمة المراقبة", "للموبايل", "للأجهزة",
)  # fmt: skip
LATIN_FIRST = ("Adrin", "Belmar", "Corvin", "Davor", "Elric", "Farid", "Galen", "Harun", "Imran", "Jorin")
LATIN_LAST = ("Abelsson", "Brandoli", "Castrov", "Demirkan", "Estavan", "Falkner", "Grantov", "Halvard")
VENDOR_FIRST = (
    "Golden", "Eastern", "Bright", "Lucky", "Silver", "Ocean", "New", "Top", "Grand", "Prime",
    "Star",
)  # fmt: skip
VENDOR_SECOND = (
    "Dragon", "Harbour", "Circuit", "Bridge", "Lotus", "Pearl", "Orbit", "Summit", "Delta", "Maple",
)  # fmt: skip
VENDOR_THIRD = (
    "Electronics Co., Ltd", "Trading", "Technology Limited", "Industrial", "Import & Export",
    "Cable Factory",
)  # fmt: skip
CITIES = (
    "بغداد", "البصرة", "أربيل", "الموصل", "النجف", "كربلاء", "كركوك", "السليمانية", "الحلة",
    "الناصرية",
)  # fmt: skip
STREETS = (
    "شارع الصناعة", "شارع الرشيد", "شارع المنصور", "قرب الجسر", "مجمع الحاسبات", "سوق الجملة",
    "حي الجامعة",
)  # fmt: skip
NOTES = ("", "", "", "شكرا لتعاملكم معنا", "Thanks for your business.", "البضاعة المباعة لا ترد")
SALESPEOPLE = ("", "", "Salesperson North", "Salesperson South", "مندوب الكرخ")
