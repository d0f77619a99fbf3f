defmodule DSPex.Wire.JsonLibrariesTest do
  # The readers by libraries that this machine may lack: each that is there reads as the plain one does.
  use ExUnit.Case, async: true

  alias DSPex.Wire.Json

  @tag req: "OWN-8"
  test "the first library that is there is used, and the last one always is" do
    assert Json.library() == Enum.find(Json.libraries(), & &1.available?())
    assert List.last(Json.libraries()) == Json.Plain
    assert Json.Plain.available?()
  end

  @tag req: "OWN-8"
  test "every library that is there gives ordered objects, nil for null, and errors as text" do
    for library <- Enum.filter(Json.libraries(), & &1.available?()) do
      assert library.decode(~s({"b":[null,1,1.5],"a":{}})) == {:ok, {[{"b", [nil, 1, 1.5]}, {"a", {[]}}]}}
      assert {:error, text} = library.decode("{")
      assert is_binary(text)
      assert {:error, _text} = library.decode("{} x")
      assert {:error, _text} = library.decode("1e999")
      assert {:error, _text} = library.decode("[] \v")
      digits = String.duplicate("7", 4_300)
      assert library.decode("[" <> digits <> "]") == {:ok, [String.to_integer(digits)]}
    end
  end

  test "the decoders for OTP's reader build ordered objects" do
    %{object_finish: finish, null: nil} = Json.Otp.decoders()
    assert finish.([{"b", 2}, {"a", 1}], :outer) == {{[{"a", 1}, {"b", 2}]}, :outer}
    assert Json.Otp.blank?(" \n\t")
    refute Json.Otp.blank?(" x")
    refute Json.Otp.blank?("\v")
  end
end
