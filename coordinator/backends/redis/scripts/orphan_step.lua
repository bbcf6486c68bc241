#!lua flags=allow-oom
-- Notes how far the search for objects without a record has come.
-- KEYS  1 place (hash)
-- ARGV  1 the last folder that was looked at; empty at the end
-- Reply {done}
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'after', ARGV[1]) end
return {'done'}
