"""Everything the database needs: SQL, the upgrade that applies it, the embedded server."""
