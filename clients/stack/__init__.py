"""The whole service on one machine as processes: start, watch over, restart, stop, and leave none behind.

A part that dies is restarted. When this process dies, even by kill -9, the kernel ends the parts (each asked
for that signal), and the guardian ends whatever they leave behind.
"""
