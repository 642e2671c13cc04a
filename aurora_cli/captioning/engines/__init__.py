"""Who captions what a session hands out.

local       this process
ray_engine  the actors of a Ray cluster
ray_actor   one of them
ray_setup   the cluster, found or started, and what it is asked for
"""
