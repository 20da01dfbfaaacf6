-- Orders of one line; the service makes id and key.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"customerId":"c-1029384","lines":[{"sku":"LANTERN","quantity":2}]}'
