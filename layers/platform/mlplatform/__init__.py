"""The platform's decisions: events become facts, facts become one decision, a decision becomes AWS calls."""
