"""Which of three growers a wine comes from: 178 wines, 13 measurements each."""
