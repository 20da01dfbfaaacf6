-- Requests the paths in the file PATHS in turn; "{n}" in a path becomes a number below LIMIT. Each thread has its own
-- position.
local paths, limit, next = {}, tonumber(os.getenv("LIMIT")), 0
for line in io.lines(os.getenv("PATHS")) do paths[#paths + 1] = line end
function request()
  next = next + 1
  local path = paths[(next - 1) % #paths + 1]
  -- Multiples of a prime spread over all numbers, in the same order each time.
  return wrk.format("GET", (path:gsub("{n}", tostring(next * 7919 % limit))))
end
function done(summary, latency)
  io.write(string.format("latency_us %d %d\n", latency:percentile(50), latency:percentile(99)))
end
