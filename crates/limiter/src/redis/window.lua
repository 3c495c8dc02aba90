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
local HEADER, SLOT, SLOTS = 64, 10, 60
local NONE = string.rep('\0', 8)
-- A clock set back by more than this, and than the window, has been set; by less, requests have overtaken each other.
local OVERTAKEN = 300000
-- Longer than any copy lives, so that a nonce outlives those who know it.
local KEPT = 90000

local key = KEYS[1]
local header = redis.call('GETRANGE', key, 0, HEADER - 1)
local is_new = header == ''
local last, oldest, length, counted, newest, version, ends, nonce = 0, 0, 60000, 0, 0, 0, 0, NONE
if not is_new then
  last, oldest, length, counted, newest, version, ends, nonce = struct.unpack('<dddddddc8', header)
end

-- The window's length; empty for what it was.
local window = tonumber(ARGV[1]) or length
local width = math.max(1, math.ceil(window / 60))
-- The present; empty for the server's own. Only tests tell it.
local clock = tonumber(ARGV[2])
if not clock then
  local time = redis.call('TIME')
  clock = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function place(at)
  return math.floor(at / width)
end

local slots
-- How many requests the bucket at a place holds, and when its last one was.
local function bucket(at_place)
  if at_place == place(last) then
    return newest, last
  end
  slots = slots or redis.call('GETRANGE', key, HEADER, -1)
  local count, at = struct.unpack('<I4I6', slots, at_place % SLOTS * SLOT + 1)
  -- Slots are not cleared; what is in this one may be from an earlier round.
  if place(at) == at_place then
    return count, at
  end
  return 0, 0
end

-- The present as this window sees it: never before its last request.
local now = clock
-- Whether the slots were written under another clock or for another length, and have to be cleared.
local is_void = false
if counted > 0 then
  if last - clock > math.max(window, OVERTAKEN) then
    -- The clock was set back. All are taken to be from now; otherwise the key would wait for the old time to return.
    last, oldest, newest, is_void = clock, clock, counted, true
  elseif length ~= window then
    oldest, newest, is_void = last, counted, true
  end
  now = math.max(clock, last)
  if now - last >= window then
    counted, newest = 0, 0
  elseif now - oldest >= window then
    -- Lets the buckets go whose last request has left the window.
    local leaving = place(oldest)
    while true do
      local count, at = bucket(leaving)
      if count > 0 and now - at < window then
        oldest = at
        break
      end
      counted = counted - count
      leaving = leaving + 1
    end
  end
end

local function save()
  local bytes = struct.pack('<dddddddc8', last, oldest, window, counted, newest, version, ends, nonce)
  if is_new then
    redis.call('SET', key, bytes .. string.rep('\0', SLOT * SLOTS))
    return
  end
  if is_void then
    redis.call('SETRANGE', key, HEADER, string.rep('\0', SLOT * SLOTS))
  end
  redis.call('SETRANGE', key, 0, bytes)
end

local function keep()
  redis.call('PEXPIRE', key, math.max(window, KEPT, ends - clock) + 1000)
end
