defmodule DSPex.Native.AdapterDocTest do
  use ExUnit.Case, async: true

  doctest DSPex.Native.Adapter.Chat
  doctest DSPex.Native.Adapter.JSON
  doctest DSPex.Native.Adapter.XML
  doctest DSPex.Native.Adapter.JsonText
  doctest DSPex.Native.Adapter.PythonJson
  doctest DSPex.Native.Adapter.Validate
  doctest DSPex.Native.Adapter.Validate.Digits
  doctest DSPex.Native.Adapter.XmlReader
end
