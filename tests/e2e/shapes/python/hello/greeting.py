import os
import sys


def greeting():
    return "hello from python %d as %d" % (sys.version_info.major, os.getuid())
