defmodule DSPex.Native.SignatureStringsTest do
  use ExUnit.Case, async: true

  alias DSPex.Native.Signature.Strings

  @tag req: ["FR1.2.1", "FR3.1.1"]
  test "Python's literals are read as Python reads them" do
    for {text, prefix, value} <- [
          {~S('a'), "", "a"},
          {~S("it's"), "", "it's"},
          {~S("""a"b"""), "", ~S(a"b)},
          {~S(r'\n'), "r", ~S(\n)},
          {~S(u'é'), "u", "é"},
          {~S('\x41\u00e9\U0001F600\101\0'), "", "Aé😀A\0"},
          {~S('\a\b\f\v\r\'\"\\\q'), "", "\a\b\f\v\r'\"\\\\q"},
          {"'a\\\nb\\\r\nc'", "", "abc"},
          {~S(b'\xff\101é'), "b", :error},
          {~S(b'\xff\101u'), "b", {:bytes, <<255, ?A, ?u>>}},
          {~S(b'\u0041'), "b", {:bytes, ~S(\u0041)}},
          {~S(br'\xff'), "br", {:bytes, ~S(\xff)}},
          {~S(Rb'x'), "Rb", {:bytes, "x"}},
          {~S('\x4'), "", :error},
          {~S('\xzz'), "", :error},
          {~S('\ud800'), "", :error},
          {~S('\U00110000'), "", :error},
          {~S('\N{DIGIT ONE}'), "", :error},
          {~S('open), "", :error},
          {"'two\nlines'", "", :error},
          {~S(f'x'), "f", :error}
        ] do
      case Strings.read(text, prefix) do
        {:ok, read, size} ->
          assert {text, read, size} == {text, value, byte_size(text)}

        {:error, at, what, advice} ->
          assert {text, value, at > 0, what != "", advice != ""} == {text, :error, true, true, true}
      end
    end
  end

  @tag req: ["FR3.1.1", "NFR4.1.4"]
  test "a character by its name is refused with a way to write it; bytes have no names" do
    assert {:error, error} = DSPex.Signature.parse(~S(q -> a: Literal['\N{EM DASH}']))
    message = Exception.message(error)
    assert message =~ ~S(`\N{…}`) and message =~ ~S(\u00e9)
    assert {:ok, {:bytes, ~S(\N{X})}, _size} = Strings.read(~S(b'\N{X}'), "b")
  end
end
