"""Maintenance: the policy, plan and apply, the trash, the keeper."""
