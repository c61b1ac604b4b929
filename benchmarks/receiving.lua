-- wrk: every request is another record's webhook. BODY: a file with a body; BASE: a number of this run; ORGANIZATIONS: whose they are,
-- in turn, separated by commas.
local file = io.open(os.getenv("BODY"), "r")
local body = file:read("*a")
file:close()
local first, last = body:find("<id>", 1, true)
local head, tail = body:sub(1, first - 1), body:sub(last + 1)
local base, count = os.getenv("BASE"), 0
local headers = { ["Content-Type"] = "application/json", ["User-Agent"] = "ZohoBooks" }

local paths = {}
for organization in (os.getenv("ORGANIZATIONS") or ""):gmatch("[^,]+") do
    paths[#paths + 1] = "/api/zoho/webhooks/products?organization_id=" .. organization
end
if #paths == 0 then paths[1] = "/api/zoho/webhooks/products" end

function request()
    count = count + 1
    return wrk.format("POST", paths[count % #paths + 1], headers, head .. base .. string.format("%08d", count) .. tail)
end

function response(status, _, answer)
    if status ~= 202 or not answer:find('"queued"', 1, true) then
        print("NOT QUEUED", status, answer)
    end
end
