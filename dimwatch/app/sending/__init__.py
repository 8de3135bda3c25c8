"""One attempt to tell a target something: over HTTP, by mail, or by Apprise, and never to where it must not go."""
