"""What surrounds a deployment that is to serve: is the machine ready for it?"""
