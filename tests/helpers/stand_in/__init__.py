"""Stand-ins for what cannot be had here: a GPU, and the libraries of TensorRT.

Nothing about speed or values on a GPU can be learnt from them. What they show is that
every class, member, method and argument we use exists in the real bindings, and that
pixels go in and features come out of the right memory in the right order.
"""
