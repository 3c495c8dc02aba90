-- Looks, and changes nothing. Replies as admitting does.
return struct.pack(REPLY, 1, counted, (counted > 0 and oldest or now) + window - clock, 0, NONE)
