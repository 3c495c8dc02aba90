-- Looks, and changes nothing. Replies as admitting does.
return {1, counted, (counted > 0 and oldest or now) + window - clock, 0, NONE}
