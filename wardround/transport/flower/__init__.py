"""All that touches the inside of Flower. It takes arguments, and knows no settings of ours."""
