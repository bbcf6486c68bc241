#!lua flags=allow-oom
-- Deletes the record of a condemned blob, unless it was begun anew meanwhile: that one has another folder.
-- KEYS  1 blob (hash)
-- ARGV  1 folder of the condemned blob's parts
-- Reply {dropped} | {other}
if redis.call('HGET', KEYS[1], 'begun') ~= ARGV[1] then return {'other'} end
redis.call('UNLINK', KEYS[1])
return {'dropped'}
