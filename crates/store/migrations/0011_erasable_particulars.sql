-- From where and with what an event happened can be erased when its user's account is deleted, and the chain stays
-- whole: its link is over a salted digest of the three columns `ip`, `user_agent` and `metadata`, not over themselves.
-- Both NULL: not sealed yet, or sealed by an older version. Only the salt NULL: erased.
ALTER TABLE audit_events ADD COLUMN particulars_salt TEXT;
ALTER TABLE audit_events ADD COLUMN particulars_digest TEXT;
