#!lua flags=allow-oom
-- Replaces versions' bodies by shorter ones; a longer one is never written. Repeating it is harmless.
-- KEYS  1 federation (hash)  2 versions (hash)
-- ARGV  1 below this number all bodies are short from now on  then pairs: number, body (JSON)
-- Reply {done} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
for i = 2, #ARGV, 2 do
  if redis.call('HSTRLEN', KEYS[2], ARGV[i]) > #ARGV[i + 1] then redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
end
redis.call('HSET', KEYS[1], 'trimmed', ARGV[1])
return {'done'}
