"""stub"""
class StateCache: pass
class CacheOptions: pass
def open_cache(o): pass
