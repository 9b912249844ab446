def left_trim(text):
    return text.lstrip()
