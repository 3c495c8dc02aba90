-- From where a token may be used, networks separated by spaces; NULL for anywhere.
ALTER TABLE personal_access_tokens ADD COLUMN allowed_ips TEXT;
