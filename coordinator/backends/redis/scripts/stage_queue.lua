#!lua
-- Puts queue entries of a restore aside, in order, claimed ones with their worker and deliveries. Places that are there
-- already are passed over, so repeating it is harmless.
-- KEYS  1 staged_queue (stream), then every staged key
-- ARGV  1 seconds to live  2 consumer group  then fours: place, delta (JSON), worker or '', deliveries
-- Reply {staged}
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[2], '0', 'MKSTREAM') end
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local last = newest and tonumber(string.match(newest[1], '^%d+')) or 0
for i = 3, #ARGV, 4 do
  local place, delta, worker, deliveries = unpack(ARGV, i, i + 3)
  if tonumber(place) > last then
    local id = place .. '-0'
    redis.call('XADD', KEYS[1], id, 'delta', delta)
    if worker ~= '' then
      redis.call('XREADGROUP', 'GROUP', ARGV[2], worker, 'COUNT', 1, 'STREAMS', KEYS[1], '>')
      redis.call('XCLAIM', KEYS[1], ARGV[2], worker, '0', id, 'RETRYCOUNT', deliveries, 'JUSTID')
    end
  end
end
for i = 2, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[1]) end
return {'staged'}
