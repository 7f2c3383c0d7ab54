"""Where weights come from: one reader per file format, each of which executes nothing and trusts no length."""
