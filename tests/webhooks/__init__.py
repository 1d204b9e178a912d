"""Tests of webhooks: parsing, claims, the receiver by real servers, crashes and hostile senders."""
