"""Committees: a group of members that is formed for one request, discusses it, and is dissolved; see meeting.py."""
