"""Who calls: certificates read and checked, claims compared with them, revocations in force at once, callers let in."""
