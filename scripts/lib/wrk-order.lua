-- Orders of two lines; the service makes id and key.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"customerId":"c-1029384","lines":[{"sku":"LANTERN","quantity":2},{"sku":"BOTTLE","quantity":1}]}'
