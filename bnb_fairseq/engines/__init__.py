"""What turns ids of sources into hypotheses, behind one interface."""
