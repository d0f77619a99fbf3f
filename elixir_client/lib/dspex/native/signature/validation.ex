defmodule DSPex.Native.Signature.Validation do
  @moduledoc "Values against fields: exactly the declared ones, each of its type and within its constraints."

  alias DSPex.Native.Python
  alias DSPex.Native.Adapter.Validate
  alias DSPex.Signature.Field

  @doc "See `DSPex.Signature.validate_inputs/2`. `what` is `\"input\"` or `\"output\"`."
  @spec validate([Field.t()], map | keyword | DSPex.Ordered.t(), String.t()) :: {:ok, map} | {:error, DSPex.Error.t()}
  def validate(fields, values, what) do
    given = Map.new(values, fn {name, value} -> {to_string(name), value} end)
    results = Enum.map(fields, &{&1.name, one(&1, given, what)})
    wrong = for {name, {:error, problems}} <- results, problem <- problems, do: located(problem, name)
    extra = for name <- Enum.sort(Map.keys(given) -- Enum.map(fields, & &1.name)), do: extra(name, what)

    case wrong ++ extra do
      [] -> {:ok, for({name, {:ok, value}} <- results, into: %{}, do: {name, value})}
      problems -> {:error, error(problems, what)}
    end
  end

  defp one(%Field{name: name} = field, given, what) do
    case {given, field.default} do
      {%{^name => value}, _default} -> value |> Python.from_elixir() |> check(field)
      {_given, {:ok, default}} -> {:ok, Python.to_elixir(default)}
      {_given, :none} -> {:error, [{[], "the #{what} `#{name}` is missing"}]}
    end
  end

  defp check(value, %Field{type: type} = field) do
    metadata = field.metadata ++ [{:field, field.constraints}]

    with {:ok, value} <- Validate.value(value, {:annotated, type, metadata}), do: {:ok, Python.to_elixir(value)}
  end

  defp located({path, message}, name), do: %{"path" => [name | path], "message" => message}
  defp extra(name, what), do: %{"path" => [name], "message" => "the signature has no #{what} `#{name}`"}

  defp error(problems, what) do
    text = Enum.map_join(problems, "; ", &"#{Enum.join(&1["path"], ".")}: #{&1["message"]}")

    DSPex.Error.new(:invalid_input, "the #{what}s do not fit the signature: #{text}", details: %{"problems" => problems})
  end
end
