"""The addresses: requests come in as bodies, answers go out; what happens between is the service's."""
