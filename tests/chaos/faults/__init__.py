"""What is done to them: deaths at chosen places, links and clocks that go wrong, stores that lose what they had."""
