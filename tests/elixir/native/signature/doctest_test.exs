defmodule DSPex.Native.SignatureDocTest do
  use ExUnit.Case, async: true

  doctest DSPex.SignatureError
  doctest DSPex.Signature
  doctest DSPex.Native.Python
  doctest DSPex.Native.PythonLiteral
  doctest DSPex.Native.Signature
  doctest DSPex.Native.Signature.Lexer
  doctest DSPex.Native.Signature.Prefix
  doctest DSPex.Native.Signature.Reader
  doctest DSPex.Native.Signature.Schema
  doctest DSPex.Native.Signature.Strings
  doctest DSPex.Native.Signature.Table
  doctest DSPex.Native.Signature.Type
end
