-- Reads paths from the file PATHS, in turn from a place of each thread's own; "{n}" in a path is a number below LIMIT.
local paths, limit, next = {}, tonumber(os.getenv("LIMIT")), 0
for line in io.lines(os.getenv("PATHS")) do paths[#paths + 1] = line end
function request()
  next = next + 1
  local path = paths[(next - 1) % #paths + 1]
  -- A multiple of a prime: all over, and alike each time.
  return wrk.format("GET", (path:gsub("{n}", tostring(next * 7919 % limit))))
end
function done(summary, latency)
  io.write(string.format("latency_us %d %d\n", latency:percentile(50), latency:percentile(99)))
end
