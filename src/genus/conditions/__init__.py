"""A record's fields -> Cond; the dropout that guidance needs lives here."""
