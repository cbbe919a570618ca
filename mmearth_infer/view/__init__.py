"""Pictures, tables and descriptions of finished stores."""
