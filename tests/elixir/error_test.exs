defmodule DSPex.ErrorTest do
  use ExUnit.Case, async: true
  doctest DSPex.Error
  doctest DSPex.Error.Table

  alias DSPex.Error
  alias DSPex.Test.Vectors

  for {vector, index} <- Enum.with_index(Vectors.cases("errors.json")) do
    @vector vector
    @tag req: ["NFR2.2.1", "OWN-7"]
    test "vector #{index}: #{vector["name"]}" do
      error = Error.from_object(@vector["object"])
      expected = @vector["error"]

      assert Atom.to_string(error.reason) == expected["kind"]
      assert error.message == expected["message"]
      assert error.retryable? == expected["retryable"]
      assert error.retry_after == expected["retry_after"]
      assert error.need == expected["need"]
      assert error.details == expected["details"]

      unless @vector["read_only"], do: assert(Error.to_object(error) == @vector["object"])
    end
  end

  @tag req: "NFR2.2.2"
  test "the message of every reason says what happened and what to do" do
    for reason <- Error.reasons() do
      error = Error.new(reason, "it happened")
      assert Exception.message(error) =~ "#{reason}: it happened ("
      assert is_boolean(error.retryable?)
    end
  end

  test "an error object of any shape is an error" do
    for object <- [nil, 1, %{}, %{"data" => 3}, %{"message" => 4, "data" => %{"kind" => "nonsense"}}] do
      assert %Error{reason: :internal, message: message} = Error.from_object(object)
      assert message =~ "defect"
    end
  end

  test "a table of another form is refused" do
    for text <- ["kind = \"a\"", "[[error]]\nkind = 1.5", "[[error]]\nkind = \"a\" # note"] do
      assert_raise ArgumentError, fn -> Error.Table.parse!(text) end
    end
  end
end
