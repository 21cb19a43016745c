"""How many hosts a demand needs: instances as measured, queues simulated, the cheapest layout found."""
