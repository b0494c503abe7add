"""stub"""
class SubwordSource: pass
