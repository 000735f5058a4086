"""Serving runs over HTTP: requests of many callers come in, answers go out; a stream's state is a value.

In data's order: `app` puts the parts together; `guards` bounds what comes in; `routes` read requests (`bodies` says
what they may hold); `library` holds the models and reloads replaced ones; `scheduler` runs what waits together, by the
`work` of each task; `streams` keeps the states of streams, or signs them for the client to keep; `server` runs it all.
"""
