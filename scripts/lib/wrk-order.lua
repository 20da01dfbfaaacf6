-- Orders with one line; the service generates the id and the key.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"customerId":"c-1029384","lines":[{"sku":"LANTERN","quantity":2}]}'
