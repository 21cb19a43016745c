"""Around a deployment that serves: is the machine ready, does the script keep its word, is it up, who answers?"""
