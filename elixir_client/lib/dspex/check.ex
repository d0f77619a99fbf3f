defmodule DSPex.Check do
  @moduledoc """
  Whether the arguments of a function are of the right kind. The error names the argument, never what a value holds.
  """

  alias DSPex.Error

  # Names alone: the modules ask this one.
  @program :"Elixir.DSPex.Program"
  @session :"Elixir.DSPex.Session"
  @async :"Elixir.DSPex.Async"
  @tool :"Elixir.DSPex.Tool"

  @type outcome :: :ok | {:error, Error.t()}

  @doc """
  Checks arguments by their kinds, in order; the first that is wrong is the error.

      iex> DSPex.Check.all(timeout: 5, options: [])
      :ok
      iex> {:error, error} = DSPex.Check.all(timeout: :soon)
      iex> error.message
      "timeout is :soon; it must be milliseconds or :infinity"
  """
  @spec all([{atom, term}]) :: outcome
  def all(arguments) do
    Enum.find_value(arguments, :ok, fn {name, value} ->
      if not fits?(name, value), do: {:error, Error.argument("#{name} is #{shown(value)}; it must be #{wanted(name)}")}
    end)
  end

  defp fits?(:program, value), do: is_struct(value, @program)
  defp fits?(:inputs, value), do: is_map(value) or Keyword.keyword?(value)
  defp fits?(:options, value), do: Keyword.keyword?(value)
  defp fits?(:timeout, value), do: value == :infinity or (is_integer(value) and value >= 0)
  defp fits?(:signature, value), do: is_binary(value) or is_map(value)
  defp fits?(:text, value), do: is_binary(value)
  defp fits?(:method, value), do: is_binary(value)
  defp fits?(:params, value), do: is_map(value) or (is_list(value) and Enum.all?(value, &match?({_name, _value}, &1)))
  defp fits?(:session, value), do: is_struct(value, @session)
  defp fits?(:max_concurrency, value), do: is_integer(value) and value > 0
  defp fits?(:tools, value), do: is_list(value) and Enum.all?(value, &is_struct(&1, @tool))
  defp fits?(:id, value), do: value == nil or is_binary(value)
  defp fits?(:async, value), do: is_struct(value, @async)

  # A map has pairs, which are no inputs.
  defp fits?(:inputs_list, value), do: (not is_map(value) or is_struct(value)) and Enumerable.impl_for(value) != nil

  defp wanted(:program), do: "a program, made by DSPex.Predict.new/2 or its siblings"
  defp wanted(:inputs), do: "a map or keyword list of the program's input fields"
  defp wanted(:options), do: "a keyword list"
  defp wanted(:timeout), do: "milliseconds or :infinity"
  defp wanted(:signature), do: "a text like \"question -> answer\", or a map"
  defp wanted(:text), do: "a text"
  defp wanted(:method), do: "a text like \"ping\""
  defp wanted(:params), do: "a map, or a list of names and values"
  defp wanted(:session), do: "a session, made by DSPex.Session.open/1 or ref/2"
  defp wanted(:max_concurrency), do: "a whole number from 1"
  defp wanted(:tools), do: "a list of DSPex.Tool, made by DSPex.Tool.new/3"
  defp wanted(:id), do: "a text"
  defp wanted(:async), do: "a call, made by DSPex.async/3"
  defp wanted(:inputs_list), do: "a list of inputs"

  @doc """
  Names a value without what it holds: atoms and numbers as they are, others by their kind.

      iex> DSPex.Check.shown("sk-secret")
      "a text"
  """
  @spec shown(term) :: String.t()
  def shown(value) when is_atom(value) or is_number(value), do: inspect(value)
  def shown(value) when is_binary(value), do: "a text"
  def shown(value) when is_list(value), do: "a list"
  def shown(%name{}), do: "a #{inspect(name)}"
  def shown(value) when is_map(value), do: "a map"
  def shown(value) when is_tuple(value), do: "a tuple"
  def shown(value) when is_function(value), do: "a function"
  def shown(_value), do: "something else"
end
