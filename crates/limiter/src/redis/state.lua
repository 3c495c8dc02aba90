-- The sliding window of one key, and the mark of the credential it belongs to. What the scripts that follow share.
--
-- The key holds one string, so that all of it is there or nothing: to lose a mark is to lose the nonce too, without
-- which no copy is trusted. Times are milliseconds since the epoch, numbers little-endian:
--
--    0  last     when the last request was counted                                                        double
--    8  oldest   when the last request in the oldest bucket was                                            double
--   16  window   the length under which it was counted                                                     double
--   24  counted  how many requests the buckets hold                                                        double
--   32  newest   how many of them the newest bucket holds                                                  double
--   40  version  of the mark: copies below it are stale …                                                  double
--   48  ends     … until then                                                                              double
--   56  nonce    what holders of copies must know; zeros until one has been read                           8 bytes
--   64  60 slots for the buckets that are closed: count (4 bytes), when its last request was (6 bytes)
--
-- A request that falls into the same bucket as the one before it, which is nearly every one of a busy key, changes the
-- header only. All 664 bytes are there from the start: a string that grows takes twice its size.
local HEADER = 64
local NONE = '\0\0\0\0\0\0\0\0'

local key = KEYS[1]
local header = redis.call('GETRANGE', key, 0, HEADER - 1)
local is_new = header == ''
local last, oldest, length, counted, newest, version, ends, nonce = 0, 0, 60000, 0, 0, 0, 0, NONE
if not is_new then
  last, oldest, length, counted, newest, version, ends, nonce = struct.unpack('<dddddddc8', header)
end

-- What is asked comes as one string too: to read numbers out of texts would cost as much as all else. Doubles, and then
-- texts of fixed length:
--
--   window   its length; 0 for what it was
--   clock    the present; below 0 for the server's own. Only tests tell it
--   limit    how many requests the window admits
--   asked    how many ask for it, all alike
--   known    the version of the copy that they have, or that a mark sets
--   lasting  how long the mark holds
--   how      1 byte, and
--   shown    8 bytes: see `proof.lua`
local window, clock, limit, asked, known, lasting, how, shown = struct.unpack('<ddddddc1c8', ARGV[1])
if window == 0 then
  window = length
end
local width = math.max(1, math.ceil(window / 60))
if clock < 0 then
  local time = redis.call('TIME')
  clock = time[1] * 1000 + math.floor(time[2] / 1000)
end
-- What is replied: how many were admitted (-1: their copy is stale), how many are counted, milliseconds until something
-- leaves the window, milliseconds until the next request is admitted, and the key's nonce.
local REPLY = '<i4I4I8I8c8'
