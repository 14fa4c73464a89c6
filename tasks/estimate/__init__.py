"""A run without its calls: how many they would be, how long they would take, what they would cost."""
