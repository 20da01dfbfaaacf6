-- A new random price for the same product each time.
wrk.method = "PUT"
wrk.path = "/v1/products/LANTERN/price"
wrk.headers["Content-Type"] = "application/json"
function request()
  return wrk.format(nil, nil, nil, '{"unitPrice":' .. math.random(1, 1000000) .. '}')
end
