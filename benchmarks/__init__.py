"""How fast TDS is, against plain SQL on the same server and against what people would use instead."""
