"""stub"""
class FrozenStates: pass
