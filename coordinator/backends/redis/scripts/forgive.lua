#!lua flags=allow-oom
-- Takes one attempt back from claimed deltas: their delivery counts are one more than their attempts. Entries that are not
-- claimed any more, or have no attempts, are passed over; who has claimed an entry keeps it.
-- KEYS  1 federation (hash)  2 queue (stream)
-- ARGV  1 consumer group  2.. entry ids
-- Reply {forgiven} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
for i = 2, #ARGV do
  local claimed = redis.call('XPENDING', KEYS[2], ARGV[1], ARGV[i], ARGV[i], 1)[1]
  if claimed and claimed[4] > 1 then
    redis.call('XCLAIM', KEYS[2], ARGV[1], claimed[2], '0', ARGV[i], 'RETRYCOUNT', claimed[4] - 1, 'JUSTID')
  end
end
return {'forgiven'}
